// Who hears of what: alerts on the app, which Slipway hears, too, and alerts on Slipway itself.

targetScope = 'resourceGroup'

@description('Short name that every resource is named by.')
@minLength(3)
@maxLength(12)
param name string

@description('Region.')
param location string = resourceGroup().location

@description('Tags of every resource.')
param tags object = {}

@description('Resource id of the plan.')
param planId string

@description('Resource id of the site.')
param siteId string

@description('Names of the slots.')
param slotNames array

@description('Resource id of the workspace.')
param workspaceId string

@description('Resource id of Application Insights.')
param componentsId string

@description('Resource id of the Service Bus namespace.')
param busId string

@description('Host name of the Function App.')
param functionHostName string

@description('Addresses that get a mail.')
param emails array = []

@description('Chat that people are told in; its address is in the vault, as secret notify-slack.')
@allowed(['', 'slack'])
param chat string = ''

@description('Application (client) id that the tokens for Slipway\'s door are for. Empty: Slipway does not hear of alerts.')
param alertsApplicationId string = ''

@description('Object id of that application.')
param alertsObjectId string = ''

@description('Processor time of the plan in percent.')
param cpuAbove int = 80

@description('Memory of the plan in percent.')
param memoryAbove int = 85

@description('Failed requests in five minutes.')
param failedAbove int = 10

@description('Average duration of a request in milliseconds.')
param slowAbove int = 2000

var notificationsUrl = empty(chat) ? '' : 'https://${functionHostName}/api/notifications/${chat}'

module people 'monitoring/action_group.bicep' = {
  name: 'monitoring-people'
  params: {
    groupName: '${name}-people'
    shortName: name
    tags: tags
    emails: emails
    notificationsUrl: notificationsUrl
    alertsUrl: ''
    alertsApplicationId: alertsApplicationId
    alertsObjectId: alertsObjectId
  }
}

module everybody 'monitoring/action_group.bicep' = {
  name: 'monitoring-everybody'
  params: {
    groupName: '${name}-people-and-slipway'
    shortName: name
    tags: tags
    emails: emails
    notificationsUrl: notificationsUrl
    alertsUrl: 'https://${functionHostName}/api/alerts'
    alertsApplicationId: alertsApplicationId
    alertsObjectId: alertsObjectId
  }
}

module app 'monitoring/app_alerts.bicep' = {
  name: 'monitoring-app'
  params: {
    name: name
    tags: tags
    planId: planId
    siteId: siteId
    slotNames: slotNames
    componentsId: componentsId
    groupId: everybody.outputs.groupId
    cpuAbove: cpuAbove
    memoryAbove: memoryAbove
    failedAbove: failedAbove
    slowAbove: slowAbove
  }
}

module slipway 'monitoring/slipway_alerts.bicep' = {
  name: 'monitoring-slipway'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: workspaceId
    busId: busId
    groupId: people.outputs.groupId
  }
}
